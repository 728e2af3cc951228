"""1 = 2 = 4 processes: the loss and every gradient, with a study spread over them, uneven text, and one without any."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmssl.distributed import sum_gradients
from mmssl.step import step
from tests.batch import OBJECTIVES, TEXT, batch, mine, model

SETS = [[name] for name in OBJECTIVES] + [OBJECTIVES]


def one_step(names, text):
    m = model(names)
    losses = step(m, mine(batch(text)), torch.Tensor.backward, number=3)
    parameters = [p for p in m.parameters() if p.grad is not None]
    sum_gradients(parameters, bucket=64)  # so small that several messages are needed
    grads = {name: p.grad.clone() for name, p in m.named_parameters() if p.grad is not None}
    return {name: float(value) for name, value in losses.items()}, grads


def a_few_steps(optimizer, names=OBJECTIVES):
    m = model(names)
    stepper = getattr(torch.optim, optimizer)(m.parameters(), lr=1e-2)
    for number in range(5):
        step(m, mine(batch("spread", seed=number)), torch.Tensor.backward, number=number)
        sum_gradients([p for p in m.parameters() if p.grad is not None])
        stepper.step()
        stepper.zero_grad()
    return {name: p.detach().clone() for name, p in m.named_parameters()}


def everything():
    torch.set_num_threads(1)
    steps = {f"{text} {'+'.join(names)}": one_step(names, text) for text in TEXT for names in SETS}
    return {"steps": steps, "weights": a_few_steps("SGD")}


def worker(rank, world_size, port, out):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    found = everything()
    if rank == 0:
        torch.save(found, out)
    dist.barrier()  # a process that leaves while another still talks to it takes that one down
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may outlive the group, and an interpreter that ends while they run aborts


@pytest.fixture(scope="module")
def alone():
    return everything()


@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_losses_gradients_and_weights_do_not_depend_on_the_number_of_processes(world_size, alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (world_size, port, tmp_path / "found.pt"), nprocs=world_size)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found["steps"].keys() == alone["steps"].keys()
    for case, (losses, grads) in found["steps"].items():
        expected_losses, expected_grads = alone["steps"][case]
        assert losses == pytest.approx(expected_losses, abs=1e-5), case
        assert grads.keys() == expected_grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected_grads[name], atol=2e-5, rtol=1e-4, msg=f"{case}: {name}")
    for name, weight in found["weights"].items():
        torch.testing.assert_close(weight, alone["weights"][name], atol=1e-5, rtol=1e-4, msg=name)
