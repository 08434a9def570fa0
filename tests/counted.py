"""A problem that knows what was spent on it."""

from samviz.problems import Quadratic


class Counted(Quadratic):
    """A quadratic that counts the columns it was multiplied with."""

    spent = 0

    def hvp(self, x, batch=None):
        product = super().hvp(x, batch)

        def counted(v):
            self.spent += v.shape[1]
            return product(v)

        return counted
