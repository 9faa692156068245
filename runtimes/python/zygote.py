"""Entry of the zygote: a Python that has booted and imported, and is copied for each environment.

The warden starts it, one for each version, in the root that guests of that version have, and speaks to it over
descriptor 3. It runs the platform's own files and the standard library, and never the code of a function nor anything
that a function has written.
"""

from ephyra_runtime import zygote

zygote.main()
