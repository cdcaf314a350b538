-- loss_on(f, { x =, y = }): the loss of theta alone, with the data fixed.
return function(f, data)
    return function(theta) return f.loss(theta, data.x, data.y) end
end
