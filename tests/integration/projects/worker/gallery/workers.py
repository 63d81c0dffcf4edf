"""Workers in the server's own process.

``manage.py runworker`` runs a worker in a process of its own, and needs an engine that processes share. The memory
engine's channels live in the server's process, and so must whoever takes jobs from them: here workers are tasks, which
begin and end with the server, by ASGI's lifespan. ``Worker`` is Channels' own, and so is what it runs.
"""

# mypy: ignore-errors
import asyncio
import os

from channels.layers import get_channel_layer
from channels.worker import Worker

CHANNELS = ["thumbnails", "previews"]


class TaskWorker(Worker):
    """A worker that can be ended: Channels' own leaves it to the end of its process."""

    async def handle(self):
        async with asyncio.TaskGroup() as listeners:
            for channel in self.channels:
                listeners.create_task(self.listener(channel))

    async def run_until_cancelled(self):
        try:
            await self.arun()
        finally:
            for scope_id in list(self.application_instances):
                self.delete_application_instance(scope_id)


class Workers:
    """The workers of this process, and the ASGI application for its lifespan."""

    def __init__(self, application):
        self.application = application
        self.tasks = []

    def start(self, count):
        for _ in range(count):
            worker = TaskWorker(self.application, CHANNELS, get_channel_layer())
            self.tasks.append(asyncio.create_task(worker.run_until_cancelled()))

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def __call__(self, scope, receive, send):
        """Serve ``lifespan``."""
        await receive()
        self.start(int(os.environ.get("GALLERY_WORKERS", "1")))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})
