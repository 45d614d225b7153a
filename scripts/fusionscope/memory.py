"""Whether an error says that memory ran out, in whatever words. Imports nothing large: light jobs ask too."""

LITTLE = 2**26  # bytes: a job needs a few times as much to begin with
# What libraries say that raise no MemoryError.
SAID = (
    "DefaultCPUAllocator",
    "annot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "Resource temporarily unavailable",
    "std::bad_alloc",
    "could not create a primitive",  # oneDNN, in a convolution
    "could not execute a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says so, or was raised where no memory is left.

    Short of memory, Python and libraries fail in ways of their own too, with a SystemError for instance.
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in SAID) or is_exhausted()


def is_exhausted() -> bool:
    """Whether this process gets no more memory to speak of."""
    try:
        bytearray(LITTLE)
    except MemoryError:
        return True
    return False
