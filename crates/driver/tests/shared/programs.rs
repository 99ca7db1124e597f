//! Programs that expect what an ordinary machine has: for a task on this machine and for one in a pod.

/// The host name has an address of this host, the time zone has a name, and the standard streams can be opened by their names.
/// The first line is the name of the time zone.
pub const EXPECTS_A_MACHINE: &str = r#"
import os, pathlib, socket, subprocess, sys, time, warnings
import tzlocal
warnings.simplefilter("error")
zone = tzlocal.get_localzone_name()
assert zone and zone != "local", zone
assert pathlib.Path("/etc/timezone").read_text().strip() == zone
assert "/zoneinfo/" in os.readlink("/etc/localtime"), os.readlink("/etc/localtime")
print(zone)
host = socket.gethostname()
address = socket.gethostbyname(host)
print("host", socket.gethostbyname("localhost"))
with socket.create_server((address, 0)) as server:
    with socket.create_connection((host, server.getsockname()[1]), timeout=5):
        pass
with open("/dev/stdout", "w") as out, open("/dev/stderr", "w") as err:
    print("by its name", file=out)
    print("the other too", file=err)
sys.stdout.flush()
subprocess.run("echo from a shell >/dev/stdout", shell=True, check=True)
"#;

/// What it prints after the time zone.
pub const MACHINE_LINES: [&str; 3] = ["host 127.0.0.1", "by its name", "from a shell"];

/// Uses the basic tools as scripts do, and prints which there are.
pub const USES_BASIC_TOOLS: &str = r#"
import os, subprocess
def sh(line):
    return subprocess.run(["sh", "-euc", line], capture_output=True, text=True, check=True).stdout
assert sh("printf 'b\\na\\nb\\n' | sort | uniq -c | tee all | xargs echo") == "1 a 2 b\n"
assert sh("command -v ps; which ps").split() == ["/hybrid-cache/bin/ps"] * 2
assert sh("find . -name all -print0 | xargs -0 md5sum | cut -d' ' -f3") == "./all\n"
assert sh("seq 3 >a; seq 2 4 >b; diff a b || comm -12 a b | paste -sd,").splitlines()[-1] == "2,3"
assert sh("df -P . | tail -1 | awk '{ print NF }'; du -s . >/dev/null; stat -c %s a") == "6\n6\n"
assert sh("timeout 5 date -u -d @0 +%Y; nproc | od -An -c | grep -c .") == "1970\n1\n"
assert sh("free -m | grep -c Mem; getent passwd $(id -u) | cut -d: -f3") == f"1\n{os.getuid()}\n"
child = subprocess.Popen(["sleep", "60"])
rows = [row.split(None, 2) for row in sh("ps -e -o pid=,ppid=,args=").splitlines()]
assert [str(child.pid), str(os.getpid()), "sleep 60"] in rows, rows
assert "sleep 60" in sh("ps aux") and f"{child.pid}\n" == sh("pgrep -x sleep"), sh("ps aux")
sh("pkill -x sleep")
assert child.wait() == -15
print(*sorted(os.listdir("/hybrid-cache/bin")))
"#;
