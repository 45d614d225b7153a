"""Random streams: named by their role, unlike each other, the same for ever."""

import itertools

import torch

from fusionscope.seeding import generator, seed_for


def test_different_roles_have_different_seeds():
    roles = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("", "abc"), ("abc", "")]
    roles += [("digits", 1, 11), ("digits", 11, 1), ("digits", 111), ("digits", "1", "1 order")]
    roles += [("draw", number) for number in range(1000)]
    seeds = [seed_for(*role) for role in roles]
    assert len(set(seeds)) == len(seeds)


def test_the_seed_of_a_role_never_changes():
    # SHA-256 of the parts joined by byte 0x1f, first eight bytes, halved. If this test fails, every
    # published number changes: that needs a reason, not a new constant.
    assert seed_for("digits_vgg11", 1, "parent_1 order") == 2815507511063209083
    stream = generator("digits_vgg11", 1, "parent_1 order")
    assert torch.randint(0, 1000, (5,), generator=stream).tolist() == [268, 349, 146, 558, 135]


def test_seeds_fit_into_torch_and_numpy():
    seeds = [seed_for("role", number) for number in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # all 63 bits are in use
    assert min(seeds) < 2**56


def test_a_generator_neither_reads_nor_moves_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = torch.randn(4, generator=generator("role", 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(torch.randn(4, generator=generator("role", 1)), first)


def test_streams_do_not_depend_on_one_another():
    # drawing from one stream, however much, leaves the next one as it was
    alone = torch.randn(4, generator=generator("second"))
    torch.randn(1000, generator=generator("first"))
    assert torch.equal(torch.randn(4, generator=generator("second")), alone)


def test_streams_of_neighbouring_roles_are_uncorrelated():
    draws = [torch.randn(4000, generator=generator("draw", k)) for k in range(6)]
    for a, b in itertools.combinations(draws, 2):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / 4000**0.5
