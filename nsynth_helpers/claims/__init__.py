"""The fourteen claims of the 2018 report: what was published, what is measured, and a verdict on each."""

from nsynth_helpers.claims import published
from nsynth_helpers.claims.measures import gather_evidence
from nsynth_helpers.claims.reproduce import published_run
from nsynth_helpers.claims.verdicts import READINGS, verdict_table, verdicts_by_claim, ways_by_claim
