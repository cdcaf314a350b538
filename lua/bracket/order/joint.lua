local bk = ...
return bk.define{
    name = "bk.order.joint",
    returns = "order",
    doc = [[
Every step follows the gradient of the sum (or mean: reduction = "mean") of all tasks' losses. W = 0.]],
    options = {},
    call = function()
        return bk.order._object.new{
            name = "joint",
            joint = true,
            setup = function(state)
                return state.steps or 1, function() return 0 end
            end,
            window = function() return 1 end,
        }
    end,
}
