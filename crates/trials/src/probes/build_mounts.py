def write(path):
    def work():
        with open(path, "w"):
            return True
    return work
for place in ("/cache/python", "/cache/python/uv", "/cache/python/tenants", "/cache/python/locks"):
    attempt(f"{place} can be seen", lambda: os.listdir(place) is not None)
for place in ("/cache", "/cache/python", "/cache/python/uv", "/nix", "/nix/store", "/nix/var", "/hybrid-cache",
              "/hybrid-cache/out", "/hybrid-cache/builds", "/hybrid-cache/bin", "/etc", "/usr", sys.base_prefix):
    attempt(f"{place} can be written", write(f"{place}/trial-built"))
