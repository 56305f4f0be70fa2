"""`rft rubric check`: a rubric's errors, and remarks on criteria that will be hard to answer or tell nothing."""

from rich.table import Table
from rich.text import Text

from reward_models.lint import Remark, lint
from reward_models.types import Rubric
from rft.errors import StageError
from rft.plugins import find_rubric
from rft.view.text import line
from rft.workbench.output import print_json, print_parts, table
from rft.workbench.scored import find_round


def check(name: str, *, run: str | None = None, strict: bool = False, as_json: bool = False) -> None:
    """Print the remarks. Raises RecipeError for an invalid rubric, and with `strict` StageError for any remark."""
    rubric = find_rubric(name)
    remarks = lint(rubric, find_round(run).reports() if run else ())
    if as_json:
        print_json({"rubric": rubric.name, "criteria": len(rubric.criteria), "remarks": remarks})
    else:
        print_parts(*([_table(remarks)] if remarks else []), _summary(rubric, remarks))
    if strict and remarks:
        raise StageError(f"{name}: {len(remarks)} remarks, and --strict wants none. Mend the criteria.")


def _summary(rubric: Rubric, remarks: list[Remark]) -> Text:
    asked = sum(bool(criterion.question) for criterion in rubric.criteria)
    found = f"{len(remarks)} remark{'s' * (len(remarks) != 1)}" if remarks else "nothing to remark"
    return Text(f"{line(rubric.name)}: valid; {len(rubric.criteria)} criteria, {asked} of them questions; {found}")


def _table(remarks: list[Remark]) -> Table:
    made = table("remarks", "criterion", "kind", "what is doubtful")
    for remark in remarks:
        made.add_row(Text(remark.criterion), remark.kind.replace("_", " "), Text(line(remark.text)))
    return made
