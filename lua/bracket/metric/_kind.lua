-- Which metrics a run reports: kind[f] = "always", or "once" for those that need every task learned once. f(accuracy,
-- learned) is a number; accuracy[k][i] is on task i after the k-th block, row 0 before training, learned[k] its task.
return setmetatable({}, { __mode = "k" })
