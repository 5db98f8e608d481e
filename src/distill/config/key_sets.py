"""Which configuration keys shape a result, for whom: every such list of the program stands here.

A key of a set is a dotted key or its beginning, as ``str.startswith`` compares it, unless the set says otherwise.
"""

# What shapes no result at all: it may change when a run is continued, and tells no two runs of a sweep apart.
FREE = ("resume", "logger", "log_level", "threads", "code", "teachers_dir", "cache.dir", "cache.max_gb",
        "data.num_workers", "trainer.enable_progress_bar", "trainer.log_every_n_steps")  # fmt: skip

# What does not belong to the student's recipe: it may differ between a baseline and a distilled student.
NOT_THE_STUDENTS = (*FREE, "kd.", "teacher.", "seed", "callbacks", "cache.", "compile", "channels_last", "only",
                    "data.in_memory", "data.memory_gb")  # fmt: skip

# What tells no two settings of a table of runs apart (whole keys): seeds are taken together.
NOT_A_SETTING = ("seed", "resume", "threads", "code", "teachers_dir")

# Arguments of the Trainer (names) that do not shape a teacher which is trained here; the recipe has those of the
# first line itself.
NOT_THE_TEACHERS = (
    "_target_", "max_epochs", "gradient_clip_val", "precision",
    "accelerator", "devices", "num_nodes", "strategy", "deterministic", "benchmark", "profiler",
    "log_every_n_steps", "check_val_every_n_epoch", "limit_val_batches", "limit_test_batches",
    "enable_progress_bar", "enable_model_summary",
)  # fmt: skip

# Columns of the data's files that options of ``data`` and keys of ``evaluate`` name alike.
COLUMNS = ("image", "text", "text_pair", "label")

# Callbacks (class names) that only watch a training.
WATCHING_CALLBACKS = (
    "ModelCheckpoint", "LearningRateMonitor", "TQDMProgressBar", "RichProgressBar", "DeviceStatsMonitor",
)  # fmt: skip

# What null leaves to the data or the machine (whole keys): see ``distill.training.defaults`` and ``threads``. A resumed
# run keeps what was chosen.
LEFT_TO_THE_DATA = (
    "data.image_size", "data.max_length", "data.teacher_max_length", "data.batch_size",
    "trainer.max_epochs", "optimizer.lr", "threads",
    "teacher.recipe.max_epochs", "teacher.recipe.batch_size", "teacher.recipe.optimizer.lr",
)  # fmt: skip
