-- rooms.lua - docstrings of the tables that files make: room path -> text. help lists the names in a room after it.
return {
    ["bk"] = "bk\n\nThe module bracket: tensors, functions of theta and their derivatives, models, "
        .. "backward error analysis, tasks and protocols. Dimensions and positions count from 1, dimensions below 0 from "
        .. "the end; class ids count from 0. help(bk.lie) explains one name, help \"words\" searches, "
        .. "help \"tutorial\" is the first of the guides, help \"guides\" lists them.",
    ["bk.nn"] = "bk.nn\n\nModels and layers over one flat parameter vector theta.",
    ["bk.loss"] = "bk.loss\n\nLosses of a model on data: callables of theta.",
    ["bk.bea"] = "bk.bea\n\nBackward error analysis: modified losses and fields of multitask and continual training.",
    ["bk.data"] = "bk.data\n\nReaders of data files, and generated data.",
    ["bk.optim"] = "bk.optim\n\nOptimizers, each a constructor that takes an option table.",
    ["bk.tasks"] = "bk.tasks\n\nMake lists of tasks out of data.",
    ["bk.linalg"] = "bk.linalg\n\nFactorisations, linear systems and determinants of matrices, by LAPACK, with "
        .. "derivatives. Ctrl-C is heard between the matrices of a batch, not within one.",
    ["bk.order"] = "bk.order\n\nOrders in which a protocol visits its tasks.",
    ["bk.schedule"] = "bk.schedule\n\nLearning rates as functions of the step.",
    ["bk.intervention"] = "bk.intervention\n\nChanges to a protocol's steps: terms cancelled or amplified, and "
        .. "the field's baselines.",
    ["bk.metric"] = "bk.metric\n\nNumbers out of an accuracy matrix a[k][i] (row k after the k-th task).",
    ["bk.record"] = "bk.record\n\nColumns that a protocol can record while it runs.",
    ["bk.statistics"] = "bk.statistics\n\nIntervals, ranks, correlations and slopes of lists of numbers.",
    ["bk.stream"] = "bk.stream\n\nRandom streams that are plain tables { key, counter }: what a run, "
        .. "a record or an intervention keeps in its memory goes on where it was. The numbers are bk.rng's kind (SplitMix64 in counter form).",
    ["bk.mpi"] = "bk.mpi\n\nThe ranks of one program that mpirun or srun started: every rank runs the whole script, "
        .. "and all call these functions in the same order. Where one fails, dies or ends early, the others' calls are an "
        .. "error that says so. bk.protocol{ distributed = true } shares its batches over them; help \"cluster\" has the "
        .. "cost.",
    ["bk.measure"] = "bk.measure\n\nQuantities of a run's current point for records and hooks of one's own, on "
        .. "the tasks' diagnostic "
        .. "examples; each is computed once a step, however many ask.",
}
