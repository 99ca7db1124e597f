# Uses the task API of this machine as a client without a token.
import urllib.error, urllib.request
def ask(host, method, path, body=None):
    request = urllib.request.Request(f"http://{host}:{KNOWN['port']}{path}", method=method, data=body and json.dumps(body).encode(),
                                     headers={"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=3) as answer:
        return answer.read(100).decode(errors="replace")[:60] or True
for host in KNOWN["hosts"]:
    attempt(f"list tasks at {host}", lambda: ask(host, "GET", "/api/v1/tasks"))
    attempt(f"submit a task at {host}", lambda: ask(host, "POST", "/api/v1/tasks/submit", {"pythonCode": "print(1)"}))
