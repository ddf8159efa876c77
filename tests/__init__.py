"""The tests. What imports `function_app` needs settings before that; those of a running service come with its stack."""

import os

os.environ.setdefault("AzureWebJobsStorage", "UseDevelopmentStorage=true")
os.environ.setdefault("TNT_PUBLIC_URL", "http://localhost:7071")
os.environ.setdefault("TNT_MASTER_KEY_FILE", "master-keys-of-no-test.json")
