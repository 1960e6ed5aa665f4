from __future__ import annotations

import torch

from tips_med.training.objectives.base import TextView
from tips_med.training.objectives.fusion import Fusion, FusionLayer, grad_cam, hard_pairs, hide_words, own_sentences


def text(n: int = 2, words: int = 3, width: int = 8) -> TextView:
    torch.manual_seed(0)
    padding = torch.zeros(n, words, dtype=torch.bool)
    padding[0, -1] = True
    return TextView(torch.randn(n, words, width), torch.randn(n, width), padding)


def test_padding_and_hidden_cells_change_nothing():
    fusion, view = Fusion(8), text()
    cells, hidden = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    hidden[:, 4] = True
    before = fusion(view, cells, hidden)[0][:, 0]
    tokens, other = view.tokens.clone(), cells.clone()
    tokens[0, -1] += 3
    other[:, 4] += 3
    after = fusion(TextView(tokens, view.pooled, view.padding), other, hidden)[0][:, 0]
    assert torch.allclose(before, after, atol=1e-5)


def test_a_causal_layer_does_not_see_what_follows():
    layer, words, cells = FusionLayer(8, causal=True), torch.randn(1, 4, 8), torch.randn(1, 5, 8)
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    before = layer(words, nothing, cells)[0]
    later = words.clone()
    later[:, 3] += 1
    after = layer(later, nothing, cells)[0]
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-5)
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-3)


def test_at_least_one_word_a_sentence_is_hidden_and_never_padding():
    words = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0]])
    for seed in range(20):
        torch.manual_seed(seed)
        given, wanted = hide_words(words, mask_index=6)
        asked = wanted >= 0
        assert asked.any(1).all()
        assert not asked[1, 1:].any()
        assert torch.equal(wanted[asked], words[asked])
        assert torch.equal(given[~asked], words[~asked])


def test_pairs_match_as_the_relation_says_and_hard_ones_come_first():
    relation = torch.tensor([[1, -1, 0, -1], [-1, -1, 1, -1]])
    scores = torch.tensor([[0.0, 9.0, 9.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    own = own_sentences(2, 2, torch.device("cpu"))
    for seed in range(10):
        torch.manual_seed(seed)
        pairs = hard_pairs(scores, relation, own)
        found = relation[pairs.view, pairs.sentence]
        assert torch.equal(found > 0, pairs.match > 0)
        assert (found != 0).all()
        assert pairs.sentence[2:4].tolist() == [1, 3]  # wrong, and scored as if right
        assert len(pairs.view) == 5  # sentence 2 is false of no other crop


def test_a_view_without_a_right_sentence_gives_no_right_pair():
    relation = torch.tensor([[-1, -1, 1, -1], [-1, -1, 1, -1]])
    pairs = hard_pairs(torch.zeros(2, 4), relation, own_sentences(2, 2, torch.device("cpu")))
    assert pairs.match.sum() == 1
    assert (relation[pairs.view, pairs.sentence] == torch.where(pairs.match > 0, 1, -1)).all()


def test_grad_cam_looks_where_the_score_comes_from():
    attention = torch.full((1, 1, 3, 4), 0.25, requires_grad=True)
    padding = torch.tensor([[False, True]])
    score = attention[:, :, :2, 2].sum((1, 2)) - attention[:, :, 0, 1].sum(1)
    cam = grad_cam(score, attention, padding)
    assert cam.argmax() == 2
    assert cam[0, [0, 1, 3]].tolist() == [0, 0, 0]
