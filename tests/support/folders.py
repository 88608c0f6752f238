"""Where the recorded traffic of each dialect lies."""

from __future__ import annotations

from proxy.dialects.base import DialectName

FOLDERS = {
    DialectName.CHAT: "openai.chat",
    DialectName.MESSAGES: "anthropic.messages",
    DialectName.RESPONSES: "openai.responses",
    DialectName.GEMINI: "gemini.generate",
    DialectName.COHERE: "cohere.chat",
    DialectName.CONVERSE: "bedrock.converse",
}
