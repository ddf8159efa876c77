"""The tests. What imports `function_app` needs settings before that; those of a running service come with its stack."""

import os
import tempfile

os.environ.setdefault("AzureWebJobsStorage", "UseDevelopmentStorage=true")
os.environ.setdefault("TNT_PUBLIC_URL", "http://localhost:7071")
os.environ.setdefault("TNT_MASTER_KEY_FILE", f"{tempfile.gettempdir()}/keys-of-no-test-{os.getpid()}.json")
