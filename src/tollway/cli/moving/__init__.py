"""Moving in from another gateway: what its database says, read, translated and written into the storage.

litellm_database   reads LiteLLM's tables, and nothing but reads
litellm_people     its rows of keys, teams, users and the others, as our entities; no I/O
litellm_calls      its spend log and daily sums, as finished calls and sums; no I/O
litellm_secrets    opens what it stored encrypted
move               puts it all into a storage, and says what it did
"""
