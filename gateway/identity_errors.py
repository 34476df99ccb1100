"""What can go wrong with identity providers, logins and narrowed keys, without a word of HTTP.

    AirlockError
    ├── AuthenticationError
    │   ├── InvalidTokenError
    │   ├── ExpiredTokenError
    │   ├── BoundTokenError        only its client may use it, which is not verified here
    │   ├── InvalidSessionError
    │   └── StepUpRequiredError    who is calling is proven, but too weakly or too long ago
    ├── LoginFailedError           a login at an identity provider did not come to its end
    ├── ForgedRequestError         another site's page may have made a browser send this
    ├── UnknownPersonError         who is calling is proven, and nobody here
    ├── AddressNotAllowedError     the key may not be used from there
    ├── InsufficientScopeError     the key may not be used for this, whoever's it is
    └── ProviderUnavailableError   an identity provider cannot say who is calling

The rest of the tree is in `errors`.
"""

from gateway.errors import AirlockError, AuthenticationError


class InvalidTokenError(AuthenticationError):
    """The access token proves nothing; the sentence is the same whatever is wrong with it."""

    def __init__(self) -> None:
        super().__init__("The access token is not valid.")


class ExpiredTokenError(AuthenticationError):
    """The access token was good until it expired."""

    def __init__(self) -> None:
        super().__init__("The access token has expired; get a new one.")


class BoundTokenError(AuthenticationError):
    """The access token is for who proves to have a client's key, and no such proof is taken."""

    def __init__(self) -> None:
        super().__init__(
            "The access token is bound to a key of its client ('cnf'), which is not verified "
            "here; get one that is not bound."
        )


class InvalidSessionError(AuthenticationError):
    """The login's session has ended, or never was."""

    def __init__(self) -> None:
        super().__init__("The session has ended; log in again.")


class StepUpRequiredError(AuthenticationError):
    """Who is calling must prove it again, or better, before this step.

    Attributes:
        acr_values: The authentication contexts of which one will do; empty for any.
        max_age_seconds: How long ago it may have been.
    """

    def __init__(self, acr_values: tuple[str, ...], max_age_seconds: int) -> None:
        super().__init__(
            "This step takes a fresh and strong login; log in again for it, and make a new key "
            "if it is to be taken by one."
        )
        self.acr_values = acr_values
        self.max_age_seconds = max_age_seconds


class LoginFailedError(AirlockError):
    """A login at an identity provider did not come to its end; begin again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The login failed: {why}. Begin again.")


class ForgedRequestError(AirlockError):
    """A change that came with a cookie alone: another site may have made the browser send it."""

    def __init__(self) -> None:
        super().__init__(
            "A change by session needs the header 'x-csrf-token' of GET /admin/v1/me, from the "
            "gateway's own origin."
        )


class UnknownPersonError(AirlockError):
    """The access token is good, but whom it names may not call here, or not any more."""

    def __init__(self) -> None:
        super().__init__("The access token names nobody who may call here. Log in once first.")


class AddressNotAllowedError(AirlockError):
    """The key may not be used from where it was; which addresses it may be is not said."""

    def __init__(self, *, is_at_terminal: bool = False) -> None:
        super().__init__(
            "This API key is bound to addresses, and a terminal has none: take the step through "
            "the admin API from there, or with another key."
            if is_at_terminal
            else "This API key may not be used from your address."
        )


class InsufficientScopeError(AirlockError):
    """The key is narrowed, and does not cover this; its owner may do it with another."""

    def __init__(self, needed: str) -> None:
        super().__init__(f"This API key does not cover it: it takes one with '{needed}'.")


class ProviderUnavailableError(AirlockError):
    """An identity provider did not answer: who is calling cannot be told, so nobody is let in."""

    def __init__(self) -> None:
        super().__init__("The identity provider is not available right now; try again.")
