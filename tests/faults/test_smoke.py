from tests.support.upstream import chat, error


async def test_fall(redeo, provider):
    a = await provider(error(500)); b = await provider(chat("yes"))
    r = await redeo({"alpha": a, "beta": b})
    x = await r.chat()
    assert x.status == 200 and x.attempts == "alpha=500 beta=200", (x.body, x.attempts)
    x = await r.chat(stream=True)
    assert x.status == 200 and b"DONE" in x.body, x.body
