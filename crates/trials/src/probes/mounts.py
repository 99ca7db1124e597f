# Looks for what only those who prepare need, by name: Landlock does not hide names.
import glob
for pattern in ("/cache/python/uv", "/cache/python/locks", "/cache/python/trash", "/cache/python/staging",
                "/cache/python/*/uv", "/cache/python/tenants/*/locks", "/cache/python/envs", "/cache/python/requests",
                "/nix/var/hybrid-cache/locks", "/nix/var/hybrid-cache/work", "/nix/var/hybrid-cache/nix-cache",
                "/nix/var/hybrid-cache/nix-portable", "/nix/var/nix/db", "/nix/var/nix/gcroots"):
    attempt("see " + pattern, lambda: any(os.path.lexists(path) for path in glob.glob(pattern)) and True)
# A mount of a whole volume: its root holds what is above a tenant's folder.
for line in open("/proc/self/mountinfo"):
    root, point = line.split()[3:5]
    attempt(f"have {root} mounted at {point}", lambda: point in ("/cache/python", "/nix", "/cache"))
