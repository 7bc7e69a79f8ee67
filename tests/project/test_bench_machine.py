"""What the bench says of the interpreter, by what sysconfig has recorded in real builds."""

import platform

import pytest

from bench.machine import describe, is_optimised

# CONFIG_ARGS, shortened: of Debian and pyenv as their sysconfig has it, of the others as their
# build scripts pass it to configure.
DEBIAN_12 = """
'--enable-shared' '--prefix=/usr' '--enable-ipv6' '--with-computed-gotos' '--without-ensurepip'
'--with-system-ffi' 'CC=x86_64-linux-gnu-gcc' 'LDFLAGS=  -g -fwrapv -O2   '
'CFLAGS=-g   -fstack-protector-strong -Wformat -Werror=format-security '
"""
DEBIAN_13 = """
'--enable-shared' '--prefix=/usr' '--enable-ipv6' '--with-computed-gotos' '--without-ensurepip'
'--with-system-libmpdec=no' 'MKDIR_P=/bin/mkdir -p' 'CC=x86_64-linux-gnu-gcc'
"""
PYENV = """
'--prefix=/home/me/.pyenv/versions/3.13.0' '--enable-shared' 'CPPFLAGS=-I/home/me/include'
'LDFLAGS=-L/home/me/lib -Wl,-rpath,/home/me/lib'
"""
PYENV_OPTIMISED = """
'--prefix=/home/me/.pyenv/versions/3.13.0' '--enable-optimizations' '--with-lto'
"""
IMAGE = """
'--build=x86_64-linux-gnu' '--enable-loadable-sqlite-extensions' '--enable-option-checking=fatal'
'--enable-optimizations' '--enable-shared' '--with-lto' '--with-ensurepip'
"""
STANDALONE = """
'--build=x86_64-unknown-linux-gnu' '--prefix=/install' '--with-system-expat'
'--without-ensurepip' '--enable-shared' '--enable-optimizations' '--with-lto'
"""
POSIX = ("posix_home", "posix_prefix", "posix_user", "posix_venv", "venv")
DEBIAN = ("deb_system", "posix_home", "posix_local", "posix_prefix", "posix_user", "venv")


@pytest.mark.parametrize(
    ("arguments", "schemes", "optimised"),
    [
        pytest.param(DEBIAN_12, DEBIAN, True, id="Debian 12"),
        pytest.param(DEBIAN_13, DEBIAN, True, id="Debian 13"),
        pytest.param(PYENV, POSIX, False, id="pyenv"),
        pytest.param(PYENV_OPTIMISED, POSIX, True, id="pyenv with the option"),
        pytest.param(IMAGE, POSIX, True, id="the image python:3.13"),
        pytest.param(STANDALONE, POSIX, True, id="the standalone build that uv installs"),
    ],
)
def test_a_build_with_profile_guided_optimisation_is_known_as_such(
    arguments: str, schemes: tuple[str, ...], optimised: bool
) -> None:
    assert is_optimised(arguments, schemes) is optimised


def test_the_description_names_the_interpreter() -> None:
    assert f"CPython {platform.python_version()}" in describe()
