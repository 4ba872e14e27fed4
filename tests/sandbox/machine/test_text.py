"""Whatever a name holds, it is text and nothing else in a terminal, a table, Markdown, HTML and a script."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.machine import text
from sandbox.report.tabular import as_csv
from sandbox.report.templating import environment

PIECES = (
    *(
        "=1+1",
        "+cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        ";=1",
        "'",
        '"',
        ",",
        ";",
        "|",
        "\n",
        "\r\n",
        "\0",
        "\x1b[31m",
    ),
    *(
        "\x1b]0;title\x07",
        "\x9b2J",
        "\u202e",
        "\u2066",
        "\u2069",
        "\u200f",
        "\u2028",
        "\ud800",
        "![i](http://e/x.png)",
        "[a](b)",
    ),
    *(
        "<img src=x onerror=y>",
        "</script>",
        "<!--",
        "]]>",
        "&lt;",
        "`",
        "``",
        "```\n",
        "\\",
        "\\[",
        "*",
        "_",
        "www.e.org",
        "~",
    ),
    *("http://e", "HTTPS://e", "bptt", "ß", "日本", "a b", "$x$", "{{ x }}", "{% x %}", "</code>", "javascript:x"),
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=6).map("".join)
SEEN = re.compile(r"\\[\\`*\[\]|]")


def hidden(found):
    return [letter for letter in found if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@given(HOSTILE)
def test_a_terminal_gets_what_is_seen(name):
    assert hidden(text.line(name)) == []
    assert set(hidden(text.terminal(name))) <= {"\n"}
    text.terminal(name).encode()  # no halves of pairs, which a terminal cannot print


def test_ordinary_text_stays_as_it_is():
    for usual in ("bptt lr=0.01", "Ünï — “x” 10⁹ ×", "日本語", "path/to/file.py:Name", "a_b-c"):
        assert text.line(usual) == text.terminal(usual) == text.cell(usual) == usual


def cells_of(written, delimiter):
    return [cell for row in csv.reader(io.StringIO(written), delimiter=delimiter) for cell in row]


@given(HOSTILE, HOSTILE)
@example("", '"=1+1')
@example('a;"=1', ';" ""=1')
def test_no_cell_is_a_formula(name, key):
    """With a semicolon, too, which spreadsheets of many countries take for the end of a cell."""
    written = as_csv([{"rule": name, f"{key}2": 1.5}, {"rule": key, key: -2, "other": [name]}])
    assert hidden(written.replace("\n", "")) == []
    for delimiter in (",", ";"):
        for cell in cells_of(written, delimiter):
            begun = cell.strip().strip('"').lstrip()
            assert begun[:1] not in ("=", "+", "-", "@") or begun == "-2", cell


@given(st.floats() | st.integers() | st.none() | st.booleans())
def test_numbers_stay_numbers(value):
    assert text.cell(value) is value


@given(HOSTILE)
@example("=1+1www.e.org")
@example("awww.e.org")
def test_markdown_has_no_markup(name):
    found = text.markdown(name)
    assert hidden(found) == []
    bare = SEEN.sub("", found)  # without what a backslash makes plain
    assert not re.search(r"[`\[\]|<>*]", bare)
    assert not re.search(r"(?i)://|www\.", bare)
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt|#58|#46);)*", found)


@given(HOSTILE)
def test_code_in_markdown_ends_where_it_should(name):
    assert not re.search(r"[`|\n]", text.code(name))
    block = text.fenced(name, "yaml").split("\n")
    fence = block[0].removesuffix("yaml")
    assert set(fence) == {"`"}
    assert block[-1] == fence
    assert not any(re.match(rf" {{0,3}}{fence}`*\s*$", line) for line in block[1:-1])


class Tags(html.parser.HTMLParser):
    """Collects tags and text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.text += data


PAGE = environment().from_string('{% autoescape true %}<p title="{{ name }}">{{ name }}</p>{% endautoescape %}')


@given(HOSTILE)
def test_html_is_text(name):
    want = text.terminal(name)
    for page in (PAGE.render(name=name), f'<p title="{text.markup(name)}">{text.markup(name)}</p>'):
        found = Tags(page)
        assert [tag for tag, _ in found.tags] == ["p"]
        assert set(hidden(page)) <= {"\n"}
    assert Tags(PAGE.render(name=name)).text == want


@given(HOSTILE)
def test_a_script_holds_json_that_it_cannot_end(name):
    found = text.script({name: [name]})
    assert not re.search("[<>&\u2028\u2029]", found)
    assert json.loads(found) == {name: [name]}


@given(HOSTILE)
def test_a_name_of_a_file_stays_in_its_folder(name):
    found = text.file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", found)


@pytest.mark.parametrize("name", ["..", "/", "", "../../x", "-rf"])
def test_a_name_of_a_file_is_no_path(name):
    assert "/" not in text.file_name(name)
    assert not text.file_name(name).startswith((".", "-"))
