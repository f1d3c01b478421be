from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import anchors, blocks, links
from tests.docs.reader import NotRunnable, Reader

PAGE = """# A page

See [below](#what-it-says), [there](there.md#a-b) and `[not](this)`.

```python
x = [1](2)
```

<!-- not run: needs a GPU -->
```bash
curl --cuda
```

## What it *says*

- In a list:

  ```
  nothing
  ```

## What it says
"""


def test_blocks_have_a_place_and_a_reason() -> None:
    python, shell, nameless = blocks(PAGE, "page.md")
    assert (python.place, python.language, python.text, python.reason) == ("page.md:5", "python", "x = [1](2)\n", None)
    assert (shell.place, shell.reason) == ("page.md:10", "needs a GPU")
    assert (nameless.language, nameless.text, nameless.reason) == ("", "nothing\n", None)


def test_links_and_anchors_are_those_of_the_prose() -> None:
    assert list(links(PAGE)) == ["#what-it-says", "there.md#a-b"]
    assert anchors(PAGE) == {"a-page", "what-it-says", "what-it-says-1"}


@pytest.mark.parametrize(
    ("block", "refused_with"),
    [
        ("```\nls\n```", NotRunnable),
        ("```bash\nls\n```", NotRunnable),
        ("```bash\npython -c 'exit(3)'\n```", AssertionError),
        ("```python\nraise LookupError\n```", LookupError),
        ("```json\n{...}\n```", ValueError),
        ("```env\nDIFFUSION_WARP_DRIVE=on\n```", AssertionError),
    ],
)
def test_a_block_that_does_not_work_is_found(tmp_path: Path, block: str, refused_with: type[Exception]) -> None:
    reader = Reader("http://localhost:9", tmp_path)
    with pytest.raises(refused_with) as refusal:
        reader.follow(blocks(block, "page.md")[0])
    reader.close()
    assert refusal.value.__notes__ == ["in the block at page.md:1"]


def test_blocks_of_a_page_share_names_and_may_await(tmp_path: Path) -> None:
    page = "```python\nimport asyncio\nx = 1\n```\n```python\nawait asyncio.sleep(0)\nassert x == 1\n```\n"
    reader = Reader("http://localhost:9", tmp_path)
    for block in blocks(page, "page.md"):
        reader.follow(block)
    reader.close()
