"""Triton's interpreter without what it does again at every call of a device function."""

from __future__ import annotations

from typing import Any


def hasten() -> None:
    """Let device functions find Triton's language as the launch of their kernel has exchanged it.

    The interpreter exchanges the language's members at the launch, and again at every call of a device function, which takes
    half of its time and changes nothing after the first call from a module.
    """
    from triton.runtime import interpreter

    seen: set[int] = set()

    def call(function: Any, *arguments: Any, **options: Any) -> Any:
        module = id(function.fn.__globals__)
        if module not in seen:
            interpreter._patch_lang(function.fn)
            seen.add(module)
        return function.rewrite()(*arguments, **options)

    interpreter.InterpretedFunction.__call__ = call
