# Downloads one wheel into the current folder. The order is JSON on standard input; what is wrong goes to standard error as
# one line. Code of our own: nothing of what is downloaded is run.
import hashlib
import http.client
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

ORDER = json.load(sys.stdin)
PART_BYTES, TIMEOUT_S = 1 << 20, 30


def fail(kind, message):
    sys.stderr.write(json.dumps({"kind": kind, "message": message}) + "\n")
    sys.exit(1)


def host_of(url):
    """The host with its port, as it is compared with the operator's list; None if the address is of another kind."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    name = parts.hostname or ""
    is_local = name in ("localhost", "::1") or re.fullmatch(r"127\.\d+\.\d+\.\d+", name)
    return host if parts.scheme == "https" or (parts.scheme == "http" and is_local) else None


class Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, url):
        host = host_of(url)
        if host not in ORDER["hosts"]:
            shown = urllib.parse.urlsplit(url)
            place = f"{shown.scheme}://{shown.netloc.rpartition('@')[2]}"
            fail("redirect", f"it leads on to {place}, which is not among the allowed hosts")
        return super().redirect_request(request, file, code, message, headers, url)


class Proxies(urllib.request.ProxyHandler):
    def __init__(self):
        """Those of the variables. As for uv, the one for all addresses is used if there is none for the address's scheme."""
        found = urllib.request.getproxies()
        every = found.pop("all", None)
        super().__init__({kind: found.get(kind, every) for kind in ("http", "https") if found.get(kind, every)})

    def proxy_open(self, request, proxy, kind):
        scheme, separator, _ = proxy.partition("://")
        if separator and scheme.lower() != "http" and not urllib.request.proxy_bypass(request.host):
            fail("proxy", f"the proxy's address begins with {scheme.lower():.16}://, which only uv can use")
        return super().proxy_open(request, proxy, kind)


def context():
    made = ssl.create_default_context()
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(variable)
        if path and os.path.exists(path):
            made.load_verify_locations(**{"cafile" if os.path.isfile(path) else "capath": path})
    return made


def main():
    own = urllib.request.HTTPSHandler(context=context()), Redirects(), Proxies()
    opener = urllib.request.build_opener(*own)
    request = urllib.request.Request(ORDER["url"], headers={"User-Agent": "hybrid-cache", "Accept-Encoding": "identity"})
    digests = {name: hashlib.new(name) for name in {"sha256", *(one.split(":")[0] for one in ORDER["hashes"])}}
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer, open(ORDER["file"], "xb") as file:
            length, count = answer.headers.get("Content-Length", ""), 0
            if length.isdigit() and int(length) > ORDER["bytes"]:
                fail("large", "")
            while part := answer.read(PART_BYTES):
                count += len(part)
                if count > ORDER["bytes"]:
                    fail("large", "")
                file.write(part)
                for digest in digests.values():
                    digest.update(part)
            if length.isdigit() and count != int(length):
                fail("offline", f"the connection ended after {count} of {length} bytes")
    except urllib.error.HTTPError as error:
        is_passing = error.code == 429 or error.code >= 500
        fail("offline" if is_passing else "answer", f"the server answers {error.code} {error.reason}")
    except urllib.error.URLError as error:
        fail("offline", str(error.reason))
    except http.client.HTTPException as error:
        fail("offline", f"the server does not answer in HTTP: {type(error).__name__}")
    except OSError as error:
        fail("full" if error.errno in (28, 122) else "offline", str(error))
    found = {f"{name}:{digest.hexdigest()}" for name, digest in digests.items()}
    if ORDER["hashes"] and not found & set(ORDER["hashes"]):
        fail("hash", f"it has sha256:{digests['sha256'].hexdigest()}, which is none of the demanded hashes")


main()
