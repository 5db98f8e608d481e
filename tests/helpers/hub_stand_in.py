"""A stand-in of the Hugging Face Hub on loopback: the part of its HTTP protocol that pushes and pulls need."""

import base64
import hashlib
import json
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

USER, TOKEN = "somebody", "hf_" + "s3cret" * 6
LFS = (".safetensors", ".onnx", ".pt2")  # by their ends, as a .gitattributes says


class Hub:
    """Its repositories; ``private``, and files by branch, of each. ``asked`` holds what was requested."""

    def __init__(self):
        self.private, self.branches, self.lfs = {}, defaultdict(dict), {}
        self.asked, self.answer = [], None  # answer: a status that every request gets

    def commit(self, repo, revision):
        return hashlib.sha1(repr(sorted(self.branches[repo][revision].items())).encode()).hexdigest()

    def files(self, repo, revision="main"):
        """Contents by path, of a branch or a commit."""
        branches = self.branches[repo]
        return next((files for name, files in branches.items() if revision in (name, self.commit(repo, name))), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def hub(self):
        return self.server.hub

    def reply(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code="", message="", **more):
        self.reply(status, {"error": message, **more}, X_Error_Code=code, X_Error_Message=message)

    def handle_any(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.known = token == TOKEN
        if self.hub.answer is not None:
            return self.refuse(self.hub.answer, message=f"refused, and you said {token}")
        if token and not self.known:
            return self.refuse(401, message="Invalid credentials in Authorization header")
        for method, pattern, act in ROUTES:
            if (method == self.command or (method, self.command) == ("GET", "HEAD")) and (
                found := re.fullmatch(pattern, path)
            ):
                return act(self, *found.groups())
        return self.refuse(404, message=f"no such page: {path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def opened(self, repo, revision=None):
        """The files of a repository that may be read; None: the request is answered."""
        if self.hub.private.get(repo, True) and not self.known:
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if repo not in self.hub.private:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        files = self.hub.files(repo, revision or "main")
        return files if files is not None else self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def whoami(self):
        return self.reply(200, {"type": "user", "name": USER}) if self.known else self.refuse(401)

    def create(self):
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self.known:
            return self.refuse(401, message="Invalid username or password.")
        if asked["organization"] != USER:
            return self.refuse(
                403, message=f"You don't have the rights to create a model under {asked['organization']}"
            )
        if repo in self.hub.private:
            return self.refuse(409, message="You already created this model repo", url=f"{self.server.url}/{repo}")
        self.hub.private[repo] = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.branches[repo]["main"] = {".gitattributes": b"*.safetensors filter=lfs"}
        return self.reply(200, {"url": f"{self.server.url}/{repo}"})

    def info(self, repo, revision=None):
        files = self.opened(repo, revision)
        if files is not None:
            name = next(n for n, f in self.hub.branches[repo].items() if f is files)
            self.reply(200, {"id": repo, "sha": self.hub.commit(repo, name), "private": self.hub.private[repo],
                             "siblings": [{"rfilename": path} for path in files]})  # fmt: skip

    def tree(self, repo, revision):
        files = self.opened(repo, revision)
        if files is not None:
            entries = [{"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                       for path, content in files.items()]  # fmt: skip
            for entry in entries:
                if entry["path"].endswith(LFS):
                    digest = hashlib.sha256(files[entry["path"]]).hexdigest()
                    entry["lfs"] = {"oid": digest, "size": entry["size"], "pointerSize": 130}
            self.reply(200, entries)

    def resolve(self, repo, revision, path):
        files = self.opened(repo, revision)
        if files is None:
            return
        if path not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        name = next(n for n, f in self.hub.branches[repo].items() if f is files)
        linked = path.endswith(LFS)
        etag = (hashlib.sha256 if linked else hashlib.sha1)(files[path]).hexdigest()
        more = {"X_Linked_Etag": f'"{etag}"', "X_Linked_Size": len(files[path])} if linked else {}
        self.reply(200, files[path], ETag=f'"{etag}"', X_Repo_Commit=self.hub.commit(repo, name), **more)

    def branch(self, repo, branch):
        if self.opened(repo) is not None:
            if branch in self.hub.branches[repo]:
                return self.refuse(409, message="Reference already exists")
            self.hub.branches[repo][branch] = dict(self.hub.branches[repo]["main"])
            return self.reply(200, {})
        return None

    def preupload(self, repo, revision):
        if self.opened(repo, revision) is not None:
            modes = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LFS) else "regular",
                      "shouldIgnore": False} for f in json.loads(self.body)["files"]]  # fmt: skip
            self.reply(200, {"files": modes})

    def batch(self, repo):
        if self.opened(repo) is not None:
            objects = json.loads(self.body)["objects"]
            for each in objects:
                if each["oid"] not in self.hub.lfs:
                    each["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}", "header": {}}}
            self.reply(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400, message="the content is not what its oid says")
        self.hub.lfs[oid] = self.body
        return self.reply(200)

    def commit(self, repo, revision):
        files = self.opened(repo, revision)
        if files is None:
            return
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
        oid = self.hub.commit(repo, revision)
        self.reply(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{repo}/commit/{oid}"})


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", lambda handler: handler.reply(200, {"warnings": [], "errors": []})),
    ("POST", f"/api/models/{REPO}/preupload/(.+)", _Handler.preupload),
    ("POST", f"/api/models/{REPO}/branch/(.+)", _Handler.branch),
    ("POST", f"/api/models/{REPO}/commit/(.+)", _Handler.commit),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/lfs/(\w+)", _Handler.upload),
    ("GET", f"/api/models/{REPO}/tree/([^/]+)/?", _Handler.tree),
    ("GET", f"/api/models/{REPO}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{REPO}", _Handler.info),
    ("GET", f"/{REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
)


@contextmanager
def stand_in():
    """The Hub, which listens while the block runs, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, server.url = Hub(), f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.hub, server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
