"""django-ca's ACME server, with SQLite and without Celery."""

from collections.abc import Mapping
from pathlib import Path

from .pypi import PythonServer

_SETTINGS = """
ALLOWED_HOSTS = ["*"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CA_DEFAULT_HOSTNAME = "localhost"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3",
                         "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_object_actions",
                  "django_ca"]
MIDDLEWARE = []
ROOT_URLCONF = "urls"
SECRET_KEY = "of no use"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": "files"}},
    "django-ca": {"BACKEND": "django.core.files.storage.FileSystemStorage",
                  "OPTIONS": {"location": "keys"}}}
USE_TZ = True
"""

_URLS = """
from django.urls import include, path
urlpatterns = [path("django_ca/", include("django_ca.urls"))]
"""

_APPLICATION = """
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""

_SETUP = """
import django
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
call_command("init_ca", "root", "CN=django-ca", "--key-type=EC", "--acme-enable",
             "--acme-enable-account-registration", "--acme-contact-optional")
from django_ca.models import CertificateAuthority
print(CertificateAuthority.objects.get().pub.pem)
"""

_REVOKED = """
import django
django.setup()
from django_ca.models import Certificate
print(Certificate.objects.get(serial={serial!r}).revoked)
"""


class DjangoCA(PythonServer):
    """See PythonServer.  It issues with a root of its own."""

    requirement = "django-ca~=3.2"
    name_server = "127.0.0.2"
    path_of_directory = "/django_ca/acme/directory/"
    _environment = {"DJANGO_SETTINGS_MODULE": "settings"}

    def prepare(self, path: Path, python: Path) -> Mapping[str, str]:
        for name, text in (("settings.py", _SETTINGS), ("urls.py", _URLS),
                           ("application.py", _APPLICATION)):
            (path / name).write_text(text)
        self._python = python
        self._root = path / "django-ca.pem"
        printed = self.run(python, _SETUP, self._environment)
        self._root.write_text(printed[printed.index("-----BEGIN"):])
        return self._environment

    def roots(self) -> Path:
        return self._root

    def revoked(self, serial: str) -> bool:
        return self.run(self._python, _REVOKED.format(serial=serial.lstrip("0")),
                        self._environment) == "True\n"
