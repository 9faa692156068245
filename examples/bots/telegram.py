"""Telegram: a webhook that was set with a secret token. https://core.telegram.org/bots/api#setwebhook"""

import hmac

import dice
from request import Refused, answer, secret


def post(request):
    given = request.header("x-telegram-bot-api-secret-token").encode()
    if not hmac.compare_digest(secret("TELEGRAM_SECRET_TOKEN"), given):
        raise Refused(401, "the secret token is wrong")
    message = request.json().get("message") or {}
    chat, text = (message.get("chat") or {}).get("id"), message.get("text")
    # Telegram sends more than messages, and again what is not answered with 200.
    if chat is None or not isinstance(text, str):
        return answer()
    # A method that Telegram is to call comes back as the answer to the webhook: no call of ours is needed.
    return answer(
        {
            "method": "sendMessage",
            "chat_id": chat,
            "text": dice.reply(text.removeprefix("/roll")),
            "reply_parameters": {"message_id": message.get("message_id"), "allow_sending_without_reply": True},
        }
    )
