"""MSRA's names and folded norms for the tests: what Detectron2's R-50.pkl looks like inside."""


def caffe2_form(state):
    """Return a network's arrays under Caffe2's names: 159, with norms folded into scale and shift."""
    named = {"conv1_w": state["conv1.weight"]}
    named |= {"res_conv1_bn_s": state["bn1.weight"], "res_conv1_bn_b": state["bn1.bias"]}
    for name, tensor in state.items():
        parts = name.split(".")
        if not parts[0].startswith("layer") or "running" in name or "num_batches" in name:
            continue
        branch = "branch1" if parts[2] == "downsample" else "branch2" + "abc"[int(parts[2][-1]) - 1]
        kind = {"conv": "w", "weight": "bn_s", "bias": "bn_b"}["conv" if tensor.dim() == 4 else parts[-1]]
        named[f"res{int(parts[0][-1]) + 1}_{parts[1]}_{branch}_{kind}"] = tensor
    return {name: tensor.numpy() for name, tensor in named.items()}
