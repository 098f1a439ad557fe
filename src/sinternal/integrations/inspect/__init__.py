"""What Inspect (https://inspect.aisi.org.uk) finds here by its plug-in entry point: our engines, and our tasks.

inspect eval sinternal/asr --model sinternal/microworld
inspect eval sinternal/mathematics --model sinternal/my-model -M engine=vllm -T benchmark=math-500
"""

from sinternal.integrations.inspect.model import sinternal
from sinternal.integrations.inspect.tasks import asr, mathematics

__all__ = ["asr", "mathematics", "sinternal"]
