"""How long a corpus's texts are, as lines to print."""

from collections import Counter
from collections.abc import Iterable, Iterator

BAR_WIDTH = 40


def histogram(texts: Iterable[str]) -> Iterator[str]:
    """Yield one line for each power of two of characters, from the shortest to the longest."""
    counts = Counter(len(text).bit_length() - 1 for text in texts)
    most = max(counts.values())
    for power in range(min(counts), max(counts) + 1):
        count = counts[power]
        bar = "█" * round(BAR_WIDTH * count / most)
        yield f"{2**power:>7,}–{2 ** (power + 1) - 1:<9,}{count:>9,}  {bar}".rstrip()
