"""The rules that migrations are held against before a run starts: what each is about, in a sentence, and what to write
instead.

Names are those of the linter that finds most of them (squawk) where it has one, and ours in its manner otherwise. They
stand here, and not beside the linter, because a plan accepts findings by them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    DESTROYS = "destroys data"
    DEPENDS = "depends on the data"
    BREAKS = "breaks the code that still runs"
    BLOCKS = "blocks traffic"
    UNGUARDED = "misses a guard"
    UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class LintRule:
    """*sentence* says what happens, *rewrite* what to write instead; *also_sqlite*: it is looked for there too."""

    name: str
    family: Family
    sentence: str
    rewrite: str
    also_sqlite: bool = False


_RULES = (
    LintRule(
        "ban-drop-database",
        Family.DESTROYS,
        "the database and all that is in it are gone",
        "leave it out; a database is dropped by hand, after a backup",
    ),
    LintRule(
        "ban-drop-schema",
        Family.DESTROYS,
        "the schema and, with CASCADE, every table in it are gone",
        "move what is needed first, and drop the schema in a contract plan of its own, after a backup",
    ),
    LintRule(
        "ban-drop-table",
        Family.DESTROYS,
        "the table and its rows are gone, and code that still reads it fails",
        "rename nothing and stop using it first; drop it in a later contract plan, after a backup",
        also_sqlite=True,
    ),
    LintRule(
        "ban-drop-column",
        Family.DESTROYS,
        "the column and its values are gone, and code that still selects it fails",
        "stop reading and writing it first; drop it in a later contract plan, after a backup",
        also_sqlite=True,
    ),
    LintRule(
        "ban-truncate",
        Family.DESTROYS,
        "every row is gone, and the table is locked against readers too",
        "delete what is meant in batches, with a WHERE",
    ),
    LintRule(
        "delete-without-where",
        Family.DESTROYS,
        "every row is deleted",
        "add the WHERE that is meant, and delete many rows in batches",
        also_sqlite=True,
    ),
    LintRule(
        "update-without-where",
        Family.DESTROYS,
        "every row is overwritten",
        "add the WHERE that is meant, or fill a new column by a backfill stage",
        also_sqlite=True,
    ),
    LintRule(
        "ban-drop-not-null",
        Family.DESTROYS,
        "the guarantee that there is a value is lost, and code that relies on it meets NULL",
        "let all code handle NULL first, and then accept this finding",
    ),
    LintRule(
        "ban-drop-constraint",
        Family.DESTROYS,
        "the guarantee of the foreign key or constraint is lost, and rows that break it come in unseen",
        "add its successor with NOT VALID in the same file under the same name, or drop it in a contract plan",
    ),
    LintRule(
        "ban-drop-cascade",
        Family.DESTROYS,
        "CASCADE takes along whatever depends on it, columns of tables among them",
        "drop without CASCADE, after what depends on it was changed by name",
    ),
    LintRule(
        "unique-on-existing-rows",
        Family.DEPENDS,
        "it fails if two rows that are there already have the same value",
        "ask for duplicates in the stage's checks (SELECT ... GROUP BY ... HAVING count(*) > 1, expect: {rows: 0})",
        also_sqlite=True,
    ),
    LintRule(
        "adding-required-field",
        Family.DEPENDS,
        "a new column that is NOT NULL and has no default fails as soon as the table has a row",
        "give it a constant DEFAULT, or add it nullable, fill it in batches and require it afterwards",
        also_sqlite=True,
    ),
    LintRule(
        "adding-not-nullable-field",
        Family.DEPENDS,
        "SET NOT NULL fails if a row has no value, and locks the table while all rows are read",
        "ADD CONSTRAINT ... CHECK (column IS NOT NULL) NOT VALID; in the next file VALIDATE it and SET NOT NULL",
    ),
    LintRule(
        "renaming-table",
        Family.BREAKS,
        "code that still uses the old name fails at once",
        "keep the name; or rename it and create a view of the old name in the same file, and accept this finding",
        also_sqlite=True,
    ),
    LintRule(
        "renaming-column",
        Family.BREAKS,
        "code that still uses the old name fails at once",
        "add a new column, write both, backfill, move the readers, and drop the old one in a contract plan",
        also_sqlite=True,
    ),
    LintRule(
        "renaming-object",
        Family.BREAKS,
        "code that still uses the old name, or the old value of the enum, fails at once",
        "add the new name or value beside the old one, move the code, and leave the old one",
    ),
    LintRule(
        "ban-set-schema",
        Family.BREAKS,
        "code that looks for it in the old schema fails at once",
        "keep it where it is, or create a view of it in the new schema",
    ),
    LintRule(
        "changing-column-type",
        Family.BREAKS,
        "most type changes write the whole table anew under a lock that stops readers, and code may not expect them",
        "add a column of the new type, write both, backfill, and move the readers",
    ),
    LintRule(
        "require-concurrent-index-creation",
        Family.BLOCKS,
        "nobody can write to the table until the index is built",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
    ),
    LintRule(
        "require-concurrent-index-deletion",
        Family.BLOCKS,
        "it waits for every query on the table, and all later ones wait behind it",
        "DROP INDEX CONCURRENTLY IF EXISTS",
    ),
    LintRule(
        "require-concurrent-reindex",
        Family.BLOCKS,
        "nobody can write to the table until the index is built anew",
        "REINDEX ... CONCURRENTLY",
    ),
    LintRule(
        "ban-concurrent-index-creation-in-transaction",
        Family.BLOCKS,
        "PostgreSQL refuses CONCURRENTLY inside a transaction",
        "leave BEGIN and COMMIT out (with Alembic: op.get_context().autocommit_block())",
    ),
    LintRule(
        "adding-foreign-key-constraint",
        Family.BLOCKS,
        "nobody can write to either table while all rows are checked against the foreign key",
        "ADD CONSTRAINT ... FOREIGN KEY ... NOT VALID, and in the next file VALIDATE CONSTRAINT",
    ),
    LintRule(
        "constraint-missing-not-valid",
        Family.BLOCKS,
        "nobody can read or write while all rows are checked against the constraint",
        "ADD CONSTRAINT ... CHECK (...) NOT VALID, and in the next file VALIDATE CONSTRAINT",
    ),
    LintRule(
        "validating-in-same-transaction",
        Family.BLOCKS,
        "a file is one transaction, so the lock of ADD CONSTRAINT is held while VALIDATE reads all rows",
        "put VALIDATE CONSTRAINT into the next file",
    ),
    LintRule(
        "adding-serial-primary-key-field",
        Family.BLOCKS,
        "the primary key's index is built under a lock that stops readers and writers",
        "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT ... PRIMARY KEY USING INDEX",
    ),
    LintRule(
        "disallowed-unique-constraint",
        Family.BLOCKS,
        "the constraint's index is built under a lock that stops readers and writers",
        "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT ... UNIQUE USING INDEX",
    ),
    LintRule(
        "adding-field-with-default",
        Family.BLOCKS,
        "a default that differs from row to row writes the whole table anew under a lock that stops readers",
        "add the column without a default, then ALTER COLUMN ... SET DEFAULT, and backfill in batches",
    ),
    LintRule(
        "adding-stored-generated-column",
        Family.BLOCKS,
        "a stored generated column writes the whole table anew under a lock that stops readers",
        "add a plain column, keep it by a trigger, and backfill in batches",
    ),
    LintRule(
        "adding-exclusion-constraint",
        Family.BLOCKS,
        "an exclusion constraint builds its index under a lock that stops readers and writers, and cannot be NOT VALID",
        "add it to a new table and move the rows, or accept it for a table known to be small",
    ),
    LintRule(
        "prefer-robust-stmts",
        Family.UNGUARDED,
        "run again after an interruption, or where somebody did it by hand, it fails",
        "write IF NOT EXISTS, or IF EXISTS",
        also_sqlite=True,
    ),
    LintRule(
        "unbatched-backfill",
        Family.UNGUARDED,
        "one statement changes any number of rows, and holds their locks until the last is done",
        "a backfill stage, which goes in batches; or bound it by a range of the key",
    ),
    LintRule(
        "syntax-error",
        Family.UNREADABLE,
        "PostgreSQL's grammar has no such statement",
        "correct it; if PostgreSQL does accept it, accept this finding",
    ),
)

RULES: dict[str, LintRule] = {rule.name: rule for rule in _RULES}
