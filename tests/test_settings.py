"""Settings: what is missing or wrong is named with what it should be, all at once."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from domain.settings import (
    SANDBOX_SECRET,
    DocumentMode,
    Mode,
    OidcIssuer,
    Settings,
    SettingsError,
    read_settings,
)

ROOT = Path(__file__).parents[1]
SECRET = "0123456789abcdef0123456789abcdef"
PRODUCTION = {"WALLET_SECRET": SECRET, "WALLET_PUBLIC_URL": "https://wallet.example.com"}
SANDBOX = {"WALLET_MODE": "sandbox"}


def problems_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        read_settings(environ)
    return refused.value.problems


def test_a_sandbox_needs_nothing_set() -> None:
    settings = read_settings(SANDBOX)

    assert settings == Settings(
        mode=Mode.SANDBOX,
        mongodb_url=None,
        database="wallet",
        data=Path(".wallet"),
        programme=None,
        public_url="http://localhost:8000",
        secret=SANDBOX_SECRET,
        fcm_url="https://fcm.googleapis.com",
        fcm_quota_per_minute=600_000,
        firebase_credentials=None,
        firebase_project=None,
        oidc_issuers=(),
        stripe_key=None,
        stripe_webhook_secret=None,
        stripe_url="https://api.stripe.com",
        trusted_documents=(),
        trusted_documents_mode=DocumentMode.LENIENT,
        trusted_proxies=("127.0.0.1", "::1"),
    )


def test_production_is_the_mode_unless_asked_otherwise() -> None:
    settings = read_settings(PRODUCTION)

    assert settings.mode is Mode.PRODUCTION
    assert not settings.sandbox


def test_every_setting_is_read_from_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    settings = read_settings(
        {
            "WALLET_MODE": "sandbox",
            "WALLET_MONGODB_URL": "mongodb://db1,db2/?replicaSet=r",
            "WALLET_DATABASE": "bakery",
            "WALLET_DATA": str(tmp_path),
            "WALLET_PROGRAMME": str(file),
            "WALLET_PUBLIC_URL": "https://wallet.example.com/",
            "WALLET_SECRET": SECRET,
            "WALLET_FCM_URL": "http://localhost:9000",
            "WALLET_FCM_QUOTA_PER_MINUTE": "60000",
            "WALLET_FIREBASE_CREDENTIALS": str(file),
            "WALLET_FIREBASE_PROJECT": "my-shop-1a2b3",
            "WALLET_OIDC_ISSUERS": "https://one.example.com|app|kiosk, https://two.example.com/",
            "WALLET_STRIPE_KEY": "sk_test_1",
            "WALLET_STRIPE_WEBHOOK_SECRET": "whsec_1",
            "WALLET_STRIPE_URL": "http://127.0.0.1:8420",
            "WALLET_TRUSTED_DOCUMENTS": f"{file}, {file}",
            "WALLET_TRUSTED_DOCUMENTS_MODE": "strict",
            "WALLET_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "WALLET_ALLOWED_ORIGINS": "https://app.example.com http://localhost:3000",
        }
    )

    assert settings == Settings(
        mode=Mode.SANDBOX,
        mongodb_url="mongodb://db1,db2/?replicaSet=r",
        database="bakery",
        data=tmp_path,
        programme=file,
        public_url="https://wallet.example.com",
        secret=SECRET,
        fcm_url="http://localhost:9000",
        fcm_quota_per_minute=60_000,
        firebase_credentials=file,
        firebase_project="my-shop-1a2b3",
        oidc_issuers=(
            OidcIssuer(url="https://one.example.com", audiences=("app", "kiosk")),
            OidcIssuer(url="https://two.example.com/"),
        ),
        stripe_key="sk_test_1",
        stripe_webhook_secret="whsec_1",
        stripe_url="http://127.0.0.1:8420",
        trusted_documents=(file, file),
        trusted_documents_mode=DocumentMode.STRICT,
        trusted_proxies=("10.0.0.0/8", "::1"),
        allowed_origins=("https://app.example.com", "http://localhost:3000"),
    )


def test_what_the_command_line_was_told_goes_before_the_variable() -> None:
    settings = read_settings(
        {"WALLET_MODE": "production", "WALLET_DATABASE": "one"}, mode="sandbox", database="two", data=None
    )

    assert (settings.mode, settings.database, settings.data) == (Mode.SANDBOX, "two", Path(".wallet"))


def test_an_override_that_is_no_setting_is_an_error_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="not a setting: colour"):
        read_settings(SANDBOX, colour="red")


def test_production_lists_all_that_is_missing_at_once() -> None:
    assert problems_of({}) == (
        "WALLET_SECRET is missing; it should be at least 32 characters at random (openssl rand -hex 32)",
        ("WALLET_PUBLIC_URL is missing; it should be the address that members use, such as https://wallet.example.com"),
    )


def test_production_does_not_start_where_firebase_would_take_anybodys_tokens() -> None:
    emulated = {"FIREBASE_AUTH_EMULATOR_HOST": "localhost:9099"}

    assert problems_of(PRODUCTION | emulated) == (
        (
            "FIREBASE_AUTH_EMULATOR_HOST is set; in production it should not be, for Firebase Auth would then take "
            "tokens that anybody can make"
        ),
    )
    assert read_settings(SANDBOX | emulated).sandbox


def test_production_refuses_what_belongs_to_a_sandbox() -> None:
    environ = {
        "WALLET_MODE": "production",
        "WALLET_SECRET": SANDBOX_SECRET,
        "WALLET_PUBLIC_URL": "http://wallet.example.com",
        "WALLET_STRIPE_KEY": "sk_test_123",
        "WALLET_STRIPE_WEBHOOK_SECRET": "whsec_1",
    }

    assert problems_of(environ) == (
        (
            "WALLET_PUBLIC_URL is 'http://wallet.example.com'; in production it should begin with https://, "
            "or be loopback"
        ),
        "WALLET_SECRET is the sandbox's, which everyone knows; it should be a random text of your own",
        "WALLET_STRIPE_KEY is a key for tests; in production it should begin with sk_live_ or rk_live_",
    )


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_production_may_speak_http_with_itself(url: str) -> None:
    assert read_settings({**PRODUCTION, "WALLET_PUBLIC_URL": url}).public_url == url


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("WALLET_MODE", "test", "is 'test'; it should be production or sandbox"),
        (
            "WALLET_MONGODB_URL",
            "localhost:27017",
            "is not a connection string; it should begin with mongodb:// or mongodb+srv:// and a host",
        ),
        *(
            (
                "WALLET_ALLOWED_ORIGINS",
                wrong,
                f"has {wrong!r}; browsers write it in small letters, with no path and no usual port",
            )
            for wrong in ("https://App.example.com", "https://a.example/app", "https://a.example:443", "http://a:80")
        ),
        ("WALLET_ALLOWED_ORIGINS", "*", "is '*'; it should be an address such as https://wallet.example.com"),
        ("WALLET_DATABASE", "a.b", "is 'a.b'; it should be 1 to 63 letters, digits, _ or -"),
        (
            "WALLET_DATA",
            __file__,
            f"is '{__file__}', which is a file; it should be a folder, made if it does not exist",
        ),
        (
            "WALLET_PROGRAMME",
            "/nowhere",
            "is '/nowhere', where there is no file; it should be the path of a file that can be read",
        ),
        ("WALLET_SECRET", "short", "has 5 characters; it should have at least 32, at random"),
        (
            "WALLET_PUBLIC_URL",
            "wallet",
            "is 'wallet'; it should be an address such as https://wallet.example.com",
        ),
        (
            "WALLET_OIDC_ISSUERS",
            "https://a.example.com b",
            "is 'b'; it should be an address such as https://wallet.example.com",
        ),
        (
            "WALLET_OIDC_ISSUERS",
            "https://a.example.com|",
            "is 'https://a.example.com|'; an audience is missing after a |, as in https://id.example.com|my-app",
        ),
        (
            "WALLET_OIDC_ISSUERS",
            "https://a.example.com|x https://a.example.com|y",
            (
                "is 'https://a.example.com|x https://a.example.com|y'; it names an issuer twice, where one with "
                "several audiences is meant: a|b|c"
            ),
        ),
        (
            "WALLET_FIREBASE_PROJECT",
            "My Shop",
            "is 'My Shop'; it should be a Firebase project's id such as my-shop-1a2b3",
        ),
        (
            "WALLET_STRIPE_WEBHOOK_SECRET",
            "secret",
            "is not a Stripe signing secret; it should begin with whsec_",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(variable: str, value: str, problem: str) -> None:
    environ = {**SANDBOX, "WALLET_SECRET": SECRET, variable: value}
    if variable == "WALLET_MODE":
        environ |= PRODUCTION

    assert problems_of(environ) == (f"{variable} {problem}",)


def test_a_live_stripe_key_is_refused_in_a_sandbox() -> None:
    environ = {**SANDBOX, "WALLET_STRIPE_KEY": "sk_live_1", "WALLET_STRIPE_WEBHOOK_SECRET": "whsec_1"}

    assert problems_of(environ) == (
        "WALLET_STRIPE_KEY would charge real cards; in a sandbox it should begin with sk_test_ or rk_test_",
    )


def test_a_stripe_key_asks_for_the_secret_of_its_webhook() -> None:
    assert problems_of({**SANDBOX, "WALLET_STRIPE_KEY": "sk_test_1"}) == (
        (
            "WALLET_STRIPE_WEBHOOK_SECRET is missing; it should be the webhook's signing secret (whsec_…), "
            "as WALLET_STRIPE_KEY is set"
        ),
    )


def test_no_message_and_no_picture_of_the_settings_holds_a_secret() -> None:
    environ = {
        **PRODUCTION,
        "WALLET_MONGODB_URL": "mongodb://user:hunter2@db/",
        "WALLET_STRIPE_KEY": "sk_live_hunter2",
        "WALLET_STRIPE_WEBHOOK_SECRET": "whsec_hunter2",
    }

    assert "hunter2" not in repr(read_settings(environ))
    assert SECRET not in repr(read_settings(environ))
    assert "hunter2" not in str(problems_of({**environ, "WALLET_STRIPE_KEY": "hunter2"}))
    assert "hunter2" not in str(problems_of({**environ, "WALLET_STRIPE_WEBHOOK_SECRET": "hunter2"}))


def test_a_mail_server_needs_a_sender_and_its_password_is_not_shown() -> None:
    good = {**SANDBOX, "WALLET_SMTP_URL": "smtp://u:p%40ss@mail.example:587", "WALLET_SMTP_FROM": "C <c@d.example>"}

    assert "p%40ss" not in repr(read_settings(good))
    assert read_settings(good).smtp_from == "C <c@d.example>"
    assert problems_of({**SANDBOX, "WALLET_SMTP_URL": "smtp://mail.example"}) == (
        "WALLET_SMTP_FROM is missing; it should be the sender of e-mail, such as Corner Club <hello@corner.example>",
    )
    for url in ("mail.example:25", "smtp://", "smtp://host:99999", "smtp://host/path"):
        (problem,) = problems_of({**good, "WALLET_SMTP_URL": url})
        assert problem.startswith("WALLET_SMTP_URL is not a mail server")
    (problem,) = problems_of({**good, "WALLET_SMTP_FROM": "nobody"})
    assert problem.startswith("WALLET_SMTP_FROM is 'nobody'")


def test_compose_sets_what_is_read_and_nothing_else(tmp_path: Path) -> None:
    told: dict[str, str] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["api"]["environment"]
    programme = tmp_path / "programme.yaml"
    programme.touch()

    def filled(match: re.Match[str]) -> str:
        name, how, text = match.groups()
        return PRODUCTION.get(name, text if how == "-" else "")

    environ = {name: re.sub(r"\$\{(\w+):([-?+])([^}]*)\}", filled, value) for name, value in told.items()}
    settings = read_settings(environ, programme=programme)

    assert told.keys() <= {f"WALLET_{each.name.upper()}" for each in fields(Settings)}
    assert settings.mode is Mode.PRODUCTION
    assert settings.mongodb_url == "mongodb://mongo1,mongo2,mongo3/?replicaSet=wallet"
    assert settings.trusted_proxies == ("172.16.0.0/12", "192.168.0.0/16")
