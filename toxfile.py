"""One virtual environment for all jobs: tox would otherwise build one a job, all of them equal.

In: `runner = shared` in tox.ini. Out: a runner that takes the environment as the last job left it.
"""

from tox.plugin import impl
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedRunner(VirtualEnvRunner):
    """A virtual environment that belongs to no job: it is rebuilt for new requirements alone."""

    @staticmethod
    def id() -> str:
        """The name to give in tox.ini."""
        return "shared"

    def _setup_env(self) -> None:
        # tox rebuilds a folder whose recorded owner is another job: record this one first.
        owner = {"name": self.conf.name, "type": type(self).__name__}
        with self.cache.compare(owner, "ToxEnv"):
            pass
        super()._setup_env()


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Offer the runner to tox."""
    register.add_run_env(SharedRunner)
