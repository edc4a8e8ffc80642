"""Summaries for tests of the report and the command line: a dense and a pruned build of one network."""

from finn_vitprune.report.summary import Summary


def summary(pruned: bool) -> Summary:
    """Round numbers, so that ratios are known by hand: pruned has half the work of dense."""
    half = 2 if pruned else 1
    return Summary.model_validate(
        {
            "model": {
                "name": "deit_digits",
                "macs_dense": 4_000_000,
                "macs_pruned": 1_250_000 if pruned else 4_000_000,
                "macs": 1_000_000 if pruned else 3_500_000,
                "params_dense": 100_000,
                "params": 100_000 // half,
                "index_bits": 640,
                "tokens": [{"in": 17, "mlp": 17}, {"in": 17, "mlp": 14}],
                "heads": [4, 3],
                "block_size": 8,
                "block_keep": 1 / half,
                "token_keep": {1: 0.7},
            },
            "verify": {
                "images": 360,
                "rtl_mismatches": 0,
                "top1_agree_qonnx": 0.9975,
                "max_code_diff_vs_qonnx": 1,
                "saturations": 0,
                "accuracy": 0.9625,
                "accuracy_pytorch": 0.965,
            },
            "rtlsim": {
                "frames": 6,
                "latency_cycles": 20_000,
                "interval_cycles": 4_000 / half,
                "interval_cycles_max": 4_100 // half,
                "clk_ns": 5.0,
                "latency_ms": 0.1,
                "fps": 50_000 * half,
            },
            "balance": [
                {
                    "node": "mvau_3",
                    "op_type": "BlockSparseMVAU_rtl",
                    "kept_blocks": 64 // half,
                    "lanes": 2,
                    "ideal_cycles": 3_900 / half,
                    "cycles": 4_000 // half,
                    "utilisation": 0.975,
                    "weight_bits": 32_768 // half,
                },
                {
                    "node": "attention_1",
                    "op_type": "PrunedAttention_rtl",
                    "kept_blocks": None,
                    "lanes": 1,
                    "ideal_cycles": 900,
                    "cycles": 1_000,
                    "utilisation": 0.9,
                },
            ],
            "resources": {
                "tool": "Yosys 0.70",
                "LUT": 43_200,
                "FF": 34_560,
                "DSP": 3_072,
                "BRAM36": 10.5,
                "URAM": 0,
                "per_node": [
                    {"node": "mvau_3", "op_type": "BlockSparseMVAU_rtl", "LUT": 43_200, "FF": 0, "DSP": 3_072, "BRAM36": 0, "URAM": 0}
                ],
            },
            "part": {
                "name": "xcu250-figd2104-2L-e",
                "LUT": 1_728_000,
                "FF": 3_456_000,
                "DSP": 12_288,
                "BRAM36": 2_688,
                "URAM": 1_280,
                "fits": True,
                "slrs": 4,
            },
            "time_s": {"step_lower": 1.5, "step_hdl": 2.5},
        }
    )
