export const handler = async (event, context) => {
  console.log(`request ${context.awsRequestId}`);
  // Called at its URL, it finds what was asked for in the query: ?name=you
  const { name = "world" } = event.queryStringParameters ?? event;
  return { message: `${process.env.GREETING}, ${name}!` };
};
