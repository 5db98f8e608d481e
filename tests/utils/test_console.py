"""What is printed is what was meant: rich reads no markup and no emoji in names."""

from rich.table import Table

from distill.utils.console import print_table


def test_names_are_printed_as_they_are(capsys):
    table = Table("[red]", title=":bug:")
    table.add_row("run [x] [/red]")
    print_table(table, ["results: a\tb [x] :bug:  /summary.json"])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[red]", ":bug:", "run [x] [/red]"))
    assert shown.endswith("results: a\tb [x] :bug:  /summary.json\n")
