"""The paper's statements: each predicts numbers, measures them at several scales, and holds or fails.

Every module of this folder is imported, and registers its claims.
"""

from importlib import import_module
from pkgutil import iter_modules

from samviz.claims.claim import BEYOND, CLAIMS, Check, Claim, Curve, Finding, Plot, Verdict, claim, verify

__all__ = ["BEYOND", "CLAIMS", "Check", "Claim", "Curve", "Finding", "Plot", "Verdict", "claim", "verify"]

for _module in iter_modules(__path__):
    if _module.name != "__main__":
        import_module(f"{__name__}.{_module.name}")
