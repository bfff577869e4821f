"""The served log: one record per answer, chained, with what was asked and answered sealed. Spec: docs/spec/ledger.md.

with Ledger.open("served.jsonl", sealing=public) as ledger:
    ledger.append(answer_record(request, Content(prompt=..., response=..., token_ids=ids), epoch=key))
"""

from watermark.ledger.answers import Entry, Withheld, answer_record, assignment, fates_of
from watermark.ledger.contents import Content, Keeping, opened
from watermark.ledger.coverage import Coverage, coverage
from watermark.ledger.lines import Head
from watermark.ledger.records import Assigned, Opened, Served, Twin
from watermark.ledger.sealing import SealingKey, new_sealing_key, read_sealing_key
from watermark.ledger.walking import Damage, Walk, records
from watermark.ledger.writer import Ledger, Receipt

__all__ = [
    "Assigned", "Content", "Coverage", "Damage", "Entry", "Head", "Keeping", "Ledger", "Opened", "Receipt",
    "SealingKey", "Served", "Twin", "Walk", "Withheld", "answer_record", "assignment", "coverage", "fates_of",
    "new_sealing_key", "opened", "read_sealing_key", "records",
]  # fmt: skip
