"""Run as a program: compiles every Triton kernel for a GPU that need not be there.

    python compile_kernels.py 80 90

Prints the names of the kernels. TRITON_INTERPRET must not be set.
"""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sam2act.rendering import triton_kernels as kernels

F32, I32, I64, U8 = "*fp32", "*i32", "*i64", "*u8"
# Kernel -> types of its arguments; a plain value is a compile-time constant.
SIGNATURES: dict[str, tuple[object, ...]] = {
    "find_largest": (F32, U8, I32, "i32", True, 512),
    "fill_buffer": (F32, U8, I32, F32, I64, "i32", 2.0**31 - 256, 224, 3, True, 512),
    "resolve_and_pack": (
        *(F32, F32, F32, I64, I32, F32, "i32", "i32", "i32", "i32"),
        *(2**63 - 1, 224, 3, 5, 3, True, 512),
    ),
    "center_image": (F32, "i32", "i32", 224 * 224, 3, 4096),
    "sample_tables": (F32, F32, I32, F32, 224, 3, 512),
    "best_of_column": (F32, I64, 224, 8, 256),
}


def main(capabilities: list[str]) -> None:
    """Compile for each compute capability."""
    for capability in map(int, capabilities):
        for name, types in SIGNATURES.items():
            kernel = getattr(kernels, name)
            named = dict(zip(kernel.arg_names, types, strict=True))
            signature = {k: v if isinstance(v, str) else "constexpr" for k, v in named.items()}
            constants = {k: v for k, v in named.items() if not isinstance(v, str)}
            source = ASTSource(kernel, signature, constants)
            options = {"enable_fp_fusion": False}
            compiled = triton.compile(
                source, target=GPUTarget("cuda", capability, 32), options=options
            )
            assert ".target sm_" in compiled.asm["ptx"]
            print(capability, name)


if __name__ == "__main__":
    main(sys.argv[1:])
