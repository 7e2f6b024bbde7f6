// The same function as a worker of workerd.
export default {
  async fetch(request) {
    await request.json();
    return Response.json({});
  },
};
