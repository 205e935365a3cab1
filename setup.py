"""Compiles the loops in C into the wheel; all else stands in pyproject.toml.

A wheel built where there is no C compiler holds none: it is for every platform, and compiles its loops on first use.
"""

import importlib.util
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("compiler", ROOT / "toolkit" / "kernels" / "compiler.py")
assert spec is not None
assert spec.loader is not None
compiler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiler)


class BuildWithLoops(build_py):
    """Put the libraries of every C file beside it, in a wheel but not in an editable installation."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return the modules of a package; this file lies beside those of the topmost, and is none of them."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if Path(module[2]).resolve() != Path(__file__).resolve()]

    def run(self) -> None:
        """Copy the package, then compile."""
        super().run()
        if self.editable_mode:
            return
        made = Path(self.build_lib)
        for left in made.rglob("*.so"):
            left.unlink()
        try:
            command = compiler.compiler()
            if command is None:
                raise compiler.NotCompiled("no C compiler")
            for source in sorted(made.rglob("*.c")):
                for level, flags in compiler.LEVELS.items():
                    compiler.compile_c(command, source, compiler.shipped(source, level), flags)
        except compiler.NotCompiled as error:
            for left in made.rglob("*.so"):
                left.unlink()
            sys.stderr.write(f"note: a wheel without compiled loops, which are compiled on first use: {error}\n")


class WheelWithLoops(bdist_wheel):
    """A wheel for this platform if it holds libraries; for every Python, because none of them knows about Python."""

    def run(self) -> None:
        """Build first, to see what there is."""
        self.run_command("build")
        if any(Path(self.get_finalized_command("build").build_lib).rglob("*.so")):
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True  # the whole package goes where such files go
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, ABI and platform."""
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithLoops, "bdist_wheel": WheelWithLoops})
