"""Everything under `/v1`: the service, in the words of OpenAI's API and of those who followed it."""
