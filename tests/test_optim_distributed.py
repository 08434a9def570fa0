"""SAM with DistributedDataParallel on two processes, against one process that has the whole batch."""

import warnings
from datetime import timedelta

import pytest
import torch
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from samviz.optim import SAM

pytestmark = pytest.mark.slow  # it starts processes

RHO, LR, STEPS = 0.5, 0.2, 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, momentum=0.5), nn.Tanh(), nn.Linear(6, 3)).double()


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 5, generator=generator).double(), torch.randint(0, 3, (16,), generator=generator)


def step_by_closure(model, optimizer, inputs, labels, factor=1.0):
    def closure(part=slice(None)):
        loss = factor * cross_entropy(model(inputs[part]), labels[part])
        loss.backward()
        return loss

    optimizer.step(closure, **({} if optimizer.m is None else {"samples": 16}))


def step_in_loop(model, optimizer, inputs, labels, factor=1.0):
    with model.no_sync(), optimizer.first_pass():
        optimizer.zero_grad()
        (factor * cross_entropy(model(inputs), labels)).backward()  # of the first pass alone
    optimizer.first_step()
    with optimizer.second_pass():
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
    optimizer.second_step()


def sam(model, m=None):
    return SAM(model.parameters(), SGD, rho=RHO, lr=LR, momentum=0.9, m=m)


def state_after(step, rank, steps=STEPS, broken=False, training=False):
    """The state after steps on this process's half of the batch, and what was skipped.

    In evaluation mode, the default, samples are independent.
    """
    model = DistributedDataParallel(network().train(training))
    optimizer, (inputs, labels) = sam(model), (values[8 * rank : 8 * rank + 8] for values in batch())
    for _ in range(steps):
        step(model, optimizer, inputs, labels, float("inf") if broken and rank == 1 else 1.0)
    return model.module.state_dict(), optimizer.skipped


def worker(rank, folder):
    torch.set_num_threads(1)
    init_process_group("gloo", f"file://{folder}/rendezvous", timedelta(seconds=60), world_size=2, rank=rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = {
            "closure": state_after(step_by_closure, rank),
            "loop": state_after(step_in_loop, rank),
            "broken closure": state_after(step_by_closure, rank, broken=True),
            "broken loop": state_after(step_in_loop, rank, broken=True),
            "training": state_after(step_by_closure, rank, steps=1, training=True),
        }
    torch.save(results, f"{folder}/{rank}")
    destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / str(rank)) for rank in range(2)]


@pytest.mark.parametrize(("recipe", "m"), [("closure", None), ("loop", 8)])
def test_two_processes_step_like_one_with_the_whole_batch(results, recipe, m):
    model = network().eval()
    optimizer = sam(model, m)
    for _ in range(STEPS):
        step_by_closure(model, optimizer, *batch())
    for state, skipped in (result[recipe] for result in results):
        assert sum(skipped.values()) == 0
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
    assert (model[0].weight - network()[0].weight).norm() > 0.1


@pytest.mark.parametrize("recipe", ["broken closure", "broken loop"])
def test_a_gradient_that_is_not_finite_on_one_process_stops_both(results, recipe):
    for state, skipped in (result[recipe] for result in results):
        assert sum(skipped.values()) == STEPS
        assert all(torch.equal(state[name], value) for name, value in network().state_dict().items())


def test_each_process_updates_its_batch_statistics_once(results):
    for rank, result in enumerate(results):
        plain = network()
        plain(batch()[0][8 * rank : 8 * rank + 8])
        for name, value in plain.named_buffers():
            torch.testing.assert_close(result["training"][0][name], value)
