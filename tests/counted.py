"""A problem that counts its Hessian-vector products."""

from samviz.problems import Quadratic


class Counted(Quadratic):
    """A quadratic that counts the vectors that its Hessian was multiplied with."""

    spent = 0

    def hvp(self, x, batch=None):
        product = super().hvp(x, batch)

        def counted(v):
            self.spent += v.shape[1]
            return product(v)

        return counted
