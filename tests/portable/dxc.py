"""Compiles the HLSL in FOLDER, as src/tests/portable.rs leaves it, with DXC, Microsoft's compiler, into DXIL.

usage: python dxc.py FOLDER LIBRARY      (LIBRARY: libdxcompiler.so, such as that in the sources of compushady on PyPI)
"""

import ctypes
import multiprocessing
import os
import pathlib
import sys
import uuid

FOLDER, LIBRARY = sys.argv[1:]

# dxcapi.h
CLSID_COMPILER = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
IID_COMPILER3 = "228b4687-5a6a-4730-900c-9702b2203f54"
IID_RESULT = "58346cda-dde7-4497-9461-6f87af5e0659"
UTF8 = 65001

# Places in tables of virtual functions. QueryInterface, AddRef and Release come first, and then, where there is no COM,
# the two destructors.
FIRST = 5
COMPILE = GET_STATUS = GET_POINTER = FIRST
GET_RESULT = GET_SIZE = FIRST + 1
GET_ERRORS = FIRST + 2
RELEASE = 2


class Buffer(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def guid(text):
    return ctypes.create_string_buffer(uuid.UUID(text).bytes_le, 16)


def call(interface, place, *arguments):
    """Calls a virtual function; arguments are pointers or 32-bit numbers."""
    table = ctypes.cast(interface, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    function = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, *[type(it) for it in arguments])(table[place])
    return function(interface, *arguments)


def pointer(value):
    return ctypes.cast(value, ctypes.c_void_p)


def blob(result, place):
    found = ctypes.c_void_p()
    call(result, place, pointer(ctypes.byref(found)))
    if not found:
        return b""
    content = ctypes.string_at(call(found, GET_POINTER), call(found, GET_SIZE))
    call(found, RELEASE)
    return content


def compile(compiler, source):
    """What goes wrong when DXIL is made of it; nothing, if it is made."""
    arguments = ["-T", "cs_6_0", "-E", "main", "-no-warnings"]
    words = (ctypes.c_wchar_p * len(arguments))(*arguments)
    result, status = ctypes.c_void_p(), ctypes.c_int32()
    call(
        compiler, COMPILE, pointer(ctypes.pointer(Buffer(source, len(source), UTF8))), pointer(words),
        ctypes.c_uint32(len(arguments)), ctypes.c_void_p(), pointer(guid(IID_RESULT)), pointer(ctypes.byref(result)),
    )
    call(result, GET_STATUS, pointer(ctypes.byref(status)))
    dxil, errors = blob(result, GET_RESULT), blob(result, GET_ERRORS).decode(errors="replace")
    call(result, RELEASE)
    if status.value == 0 and dxil[:4] == b"DXBC":
        return ""
    return errors.strip(" \0\n") or f"status {status.value:#x}, {len(dxil)} bytes"


def check(files):
    """For each file, what goes wrong."""
    compiler = ctypes.c_void_p()
    library = ctypes.CDLL(LIBRARY)
    status = library.DxcCreateInstance(guid(CLSID_COMPILER), guid(IID_COMPILER3), ctypes.byref(compiler))
    if status != 0 or not compiler:
        raise RuntimeError(f"{LIBRARY} makes no compiler: {status:#x}")
    return [(file.name, compile(compiler, file.read_bytes())) for file in files]


if __name__ == "__main__":
    files = sorted(pathlib.Path(FOLDER, "hlsl").iterdir())
    processes = os.cpu_count()
    with multiprocessing.Pool(processes) as pool:
        found = [it for part in pool.map(check, [files[i::processes] for i in range(processes)]) for it in part]
    broken = [(name, problem) for name, problem in found if problem]
    for name, problem in broken:
        print(f"{name}: {problem}", file=sys.stderr)
    print(f"DXC: {len(found)} shaders, {len(broken)} problems")
    sys.exit(len(broken) > 0 or len(found) < 200)
