local bk = ...
return bk.doc(function(options)
    bk._options("order.joint", options, {})
    return bk.order._object.new{
        name = "joint",
        joint = true,
        setup = function(state)
            return state.steps or 1, function() return 0 end
        end,
        window = function() return 1 end,
    }
end, [[
bk.order.joint{}
Every step follows the gradient of the sum (or mean: reduction = "mean") of all tasks' losses. W = 0.]])
