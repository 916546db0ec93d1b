"""Mutants that compute the same as the original: (file, line of source, change) -> why no test can tell them apart."""

# A draw from [0, 1) equals a probability in one of 2^53 cases, and then alone `<` and `<=` differ.
_ONCE_IN_2_53 = "differs where a draw equals the probability exactly, once in 2^53"
_START = "return spectral_radius(lambda v: left.mT @ (right @ v) / m + shift * v, left[0])"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("pretrain/losses/kernel_ssl/radius.py", _START, "0 -> 1"): "only length, dtype and device of the row are used",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_SMALL = 0.05  # below this ratio log(1 + x) / x and its derivative come from their series",
        "0.05 -> 0.07500000000000001",
    ): "the series of 14 terms is exact to rounding there too",
    (
        "transfer/protocols/overrides.py",
        "for key, value in zip(words[::2], words[1::2], strict=True):",
        "True -> False",
    ): "the number of words is even there, so that both halves are of one length",
    (
        "pretrain/images/parameters.py",
        "jitter = _draw_jitter(rng, recipe) if rng.random() < recipe.jitter_p else None",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    ("pretrain/images/parameters.py", "gray = rng.random() < recipe.gray_p", "Lt -> LtE"): _ONCE_IN_2_53,
    (
        "pretrain/images/parameters.py",
        "blur = float(rng.uniform(*recipe.blur_sigma)) if rng.random() < recipe.blur_p else None",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    ("pretrain/images/parameters.py", "solarize = rng.random() < recipe.solarize_p", "Lt -> LtE"): _ONCE_IN_2_53,
    (
        "pretrain/images/parameters.py",
        "return ViewParameters(box, jitter, bool(gray), blur, bool(solarize), bool(rng.random() < recipe.flip_p))",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    (
        "pretrain/images/batched.py",
        "index = (sector.long() % 6)[None, None].expand(3, 1, -1, -1, -1)",
        "1 -> 2",
    ): "the second copy that this makes is dropped in the next line",
    (
        "pretrain/images/loading.py",
        "cv2.setNumThreads(0)",
        "0 -> 1",
    ): "no threads and one thread are the same to OpenCV: nothing runs beside the caller",
    (
        "pretrain/training/hooks.py",
        "self._begun = 0.0",
        "0.0 -> 0.5",
    ): "set before every step, so that this value is never read",
    (
        "pretrain/training/hooks.py",
        "def __init__(self, say: Callable[[str], None], window: int = 50, warmup: int = 0):",
        "0 -> 1",
    ): "two windows are compared after 2 * window iterations at the earliest, which is window + 1 or more",
    (
        "pretrain/training/gradient_cache.py",
        "rows = tuple(torch.cat(pieces) for pieces in zip(*(part.rows for part in parts), strict=True))",
        "True -> False",
    ): "every part comes from one method's encode, which returns as many rows each time",
    (
        "pretrain/methods/swav.py",
        "self._full = bool(o.queue_size) and bool(self.queue[0, -1].any())",
        "0 -> 1",
    ): "the queues of both views are filled by the same step",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_TERMS = 14  # 0.05^14 is below float64's rounding",
        "14 -> 15",
    ): "the fifteenth term is below float64's rounding",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "small = x < _SMALL",
        "Lt -> LtE",
    ): "series and formula agree to rounding where they meet",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_CLOSE = 1e-5  # eigenvalues relatively nearer than this share the derivative at their middle",
        "1e-05 -> 1.5000000000000002e-05",
    ): "quotient and derivative agree to the same rounding on both sides of either border",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "close = difference.abs() < _CLOSE * (middle + scale)",
        "Lt -> LtE",
    ): "quotient and derivative agree there to rounding",
    (
        "pretrain/losses/kernel_ssl/objective.py",
        "loss, uniformity, alignment = (torch.stack(values).mean() for values in zip(*results, strict=True))",
        "True -> False",
    ): "every result has the same three parts",
    (
        "pretrain/losses/kernel_ssl/pairs.py",
        "matrices, gradients = zip(*used, strict=True)",
        "True -> False",
    ): "a list of pairs",
    (
        "pretrain/losses/swav.py",
        "for score, queue in zip(scores, (queue_1, queue_2), strict=True)",
        "True -> False",
    ): "two views and two queues",
    (
        "pretrain/training/gradient_cache.py",
        "return list(zip(*(view.split(size) for view in views), strict=True))",
        "True -> False",
    ): "all views of a batch hold as many images",
    (
        "pretrain/training/optimisers.py",
        "for i, direction in zip(decayed, changed, strict=True):",
        "True -> False",
    ): "the one is made from the other, item by item",
    (
        "pretrain/training/step.py",
        "targets = tuple(torch.cat(rows) for rows in zip(*parts, strict=True))",
        "True -> False",
    ): "every part comes from one method's target, which returns as many rows each time",
    (
        "pretrain/training/trainer.py",
        "for group, schedule in zip(self.optimiser.param_groups, self.lr_schedules, strict=True):",
        "True -> False",
    ): "both are made from the same groups",
    (
        "pretrain/methods/swav.py",
        "for queue, view in zip(self.queue, rows, strict=True):",
        "True -> False",
    ): "two views and two queues",
    (
        "pretrain/images/encoded.py",
        "for image, content in zip(batch.images, contents, strict=True)",
        "True -> False",
    ): "the one is made from the other, item by item",
    (
        "pretrain/images/loading.py",
        "for image, end in zip(batch.images, ends, strict=True)",
        "True -> False",
    ): "the one is made from the other, item by item",
    (
        "pretrain/images/loading.py",
        "for place, sample in zip(places, samples, strict=True):",
        "True -> False",
    ): "the one is made from the other, item by item",
    (
        "pretrain/images/options.py",
        "for blur_p, solarize_p in zip(self.blur_p, self.solarize_p, strict=True)",
        "True -> False",
    ): "options of two lengths are refused before",
    (
        "benchmark/comparison/comparisons.py",
        "corrected = dict(zip(map(id, tested), holm([c.difference.p for c in tested]), strict=True))",
        "True -> False",
    ): "Holm's rule returns as many values as it takes",
    (
        "benchmark/comparison/repeats.py",
        "pooled = sum(v * (len(s) - 1) for v, s in zip(variances, values, strict=True)) / freedom",
        "True -> False",
    ): "the one is made from the other, item by item",
    (
        "transfer/protocols/export.py",
        "return HEADER + yaml.dump(exported(name), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)",
        "True -> False",
    ): "names and values of Detectron2's settings are ASCII",
    (
        "benchmark/comparison/repeats.py",
        "checkpoints: int = 1",
        "1 -> 2",
    ): "given by the one function that makes a summary",
    (
        "pretrain/methods/base.py",
        "def __init__(self, config: PretrainConfig, classes: int = 0):",
        "0 -> 1",
    ): "make_method, which makes every method, always gives it",
    (
        "benchmark/comparison/inference.py",
        "reach = abs(t) * float(ratios[-1]) + 10",
        "1 -> 2",
    ): "the largest or the second largest of 1,000: the root lies far within either bracket",
}
