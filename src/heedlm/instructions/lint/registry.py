"""Every rule of the linter, by its id."""

from __future__ import annotations

from heedlm.instructions.lint import clarity_rules, examples, parts, structure, target, upkeep, variables
from heedlm.instructions.lint.rule import Rule

_TABLES = (
    *(structure.RULES, parts.RULES, clarity_rules.RULES, examples.RULES, variables.RULES, target.RULES, upkeep.RULES),
)
RULES: dict[str, Rule] = {rule.id: rule for table in _TABLES for rule in table}
