"""What the paper says: each statement predicts numbers, measures them at several scales, and says if it holds."""

from samviz.claims import (  # noqa: F401, I001 - each module registers its claims, in the paper's order
    manifold,
    sharpness,
    full_batch,
    falling_sharpness,
    quadratics,
    figure_one,
    ascent_loss,
    ablation,
    one_sample,
    networks,
)
from samviz.claims.claim import CLAIMS, Check, Claim, Curve, Finding, Plot, Verdict, claim, verify

__all__ = ["CLAIMS", "Check", "Claim", "Curve", "Finding", "Plot", "Verdict", "claim", "verify"]
