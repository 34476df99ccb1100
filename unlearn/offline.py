"""Keeps the hub's libraries off the network and off the terminal."""

import logging
import os
from pathlib import Path


def go_offline(cache: Path) -> None:
    """Forbid hub look-ups in this process, and keep the libraries' caches under `cache`.

    The libraries read these variables once, when they are imported.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"  # noqa: TID251 - the libraries' own interface
    os.environ["HF_DATASETS_CACHE"] = str((cache / "datasets").resolve())  # noqa: TID251
    os.environ["TQDM_DISABLE"] = "1"  # noqa: TID251
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # noqa: TID251


def quiet_libraries() -> None:
    """Silence the libraries' own warnings and bars; ours show the progress that matters."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for name in ("lm_eval", "transformers", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
